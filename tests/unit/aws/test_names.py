from __future__ import annotations

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.aws import names
from lmm.contract import BASE_URI, validator_for


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("i-0123456789abcdef0", True),
        ("i-01234567", True),
        ("mi-0123456789abcdef0", True),
        ("mi-01234567", False),
        ("i-0123456789abcdef", False),
        ("I-0123456789abcdef0", False),
        (" i-01234567", False),
        ("i-01234567\n", False),
        ("i-0123456é", False),
        ("web1", False),
        ("", False),
    ],
)
def test_instance_ids(text: str, expected: bool) -> None:
    assert names.is_instance_id(text) is expected


def test_instance_ids_are_what_the_service_model_takes() -> None:
    model = botocore.session.get_session().get_service_model("ssm")
    pattern = model.shape_for("InstanceId").metadata["pattern"]

    @given(st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii")))
    def check(text: str) -> None:
        assert names.is_instance_id(text)

    check()


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (
            "ssm/properties/region",
            ["eu-west-1", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1", "ap-southeast-12"],
            ["", "eu-west", "eu_west_1", "EU-WEST-1", "eu-west-1a", "http://x"],
        ),
        (
            "ssm/properties/role_arn",
            [
                "arn:aws:iam::123456789012:role/rune",
                "arn:aws-us-gov:iam::123456789012:role/a/path/rune@x",
            ],
            [
                "rune",
                "arn:aws:iam::123456789012:user/rune",
                "arn:aws:iam::1234:role/rune",
                "arn:aws:iam::123456789012:role/",
                "arn:aws:iam::123456789012:role/a b",
            ],
        ),
        ("ssm/properties/external_id", ["42", "a:b/c=d@e"], ["", "x", "a b", "y" * 1225]),
        (
            "ssm/properties/s3_bucket",
            ["abc", "my-bucket.logs", "0" * 63],
            ["ab", "My-Bucket", "s3://abc", "abc/d", "-abc", "abc-", "a..b", "10.0.0.1", "0" * 64],
        ),
        (
            "ssm/properties/s3_prefix",
            ["", "rune", "a/b c/", "x" * 400],
            ["/rune", "a\nb", "x" * 401],
        ),
        (
            "source/properties/resource_group",
            [
                "gpu-fleet",
                "a.b_c",
                "app/abcdefghijklmnopqrstuvwxyz",
                "arn:aws:resource-groups:eu-west-1:123456789012:group/gpu-fleet",
            ],
            ["", "a b", "gpu/fleet", "arn:aws:resource-groups:eu-west-1:1:group/x"],
        ),
    ],
)
def test_what_an_inventory_may_say(rule: str, good: list[str], bad: list[str]) -> None:
    validator = validator_for({"$ref": f"{BASE_URI}inventory_v1.json#/$defs/{rule}"})
    assert [text for text in good if validator.violations(text)] == []
    assert [text for text in bad if not validator.violations(text)] == []
