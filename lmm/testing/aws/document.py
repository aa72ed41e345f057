"""The one document that can be sent, AWS-RunShellScript, and what its parameters may be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmm.testing.aws.errors import ServiceError

NAME = "AWS-RunShellScript"
VERSIONS = ("$DEFAULT", "$LATEST", "1")
PLATFORMS = ("Linux", "MacOS")
PLUGIN = "aws:runShellScript"
# Where the agent puts files and S3 keys: the plugin's and the property's names without colons.
PLACE = "awsrunShellScript/0.awsrunShellScript"
# MaxDocumentSizeExceeded in the API reference: "The size limit of a document is 64 KB".
MAX_BYTES = 64 * 1024
MAX_DIRECTORY = 4096
# Bounds and default of the agent's ValidateExecutionTimeout (agent/plugins/pluginutil).
EXECUTION_TIMEOUTS = range(5, 172_801)
EXECUTION_TIMEOUT = 3600
STORED = re.compile(r"\{\{ *ssm:([\w./:-]+) *\}\}")


@dataclass(frozen=True)
class DocumentScript:
    """What an agent is to run."""

    text: str
    directory: str
    timeout_s: int


def read_parameters(
    given: Mapping[str, Sequence[str]], stored: Mapping[str, str]
) -> DocumentScript:
    """Return the script that the parameters of a request ask for.

    ``{{ ssm:NAME }}`` is replaced by the stored parameter of that name; any other ``{{ … }}`` is
    no parameter of the document and stays. Raises ServiceError (InvalidParameters,
    MaxDocumentSizeExceeded).
    """
    if unknown := given.keys() - {"commands", "workingDirectory", "executionTimeout"}:
        raise _invalid(f"document {NAME} does not support parameters {sorted(unknown)}.")
    if not given.get("commands"):
        raise _invalid(f"document {NAME} needs parameter commands.")
    if _size(given) > MAX_BYTES:
        raise ServiceError("MaxDocumentSizeExceeded", "The size limit of a document is 64 KB.")
    directory = _expand(_single(given, "workingDirectory", ""), stored)
    if len(directory) > MAX_DIRECTORY:
        raise _invalid(f"workingDirectory is longer than {MAX_DIRECTORY} characters.")
    timeout = _single(given, "executionTimeout", str(EXECUTION_TIMEOUT))
    if not re.fullmatch("[1-9][0-9]*", timeout) or int(timeout) not in EXECUTION_TIMEOUTS:
        raise _invalid(f"executionTimeout does not take the value {timeout!r}.")
    lines = [_expand(line, stored) for line in given["commands"]]
    return DocumentScript("\n".join(lines) + "\n", directory, int(timeout))


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameters", message)


def _single(given: Mapping[str, Sequence[str]], name: str, default: str) -> str:
    values = given.get(name, [default])
    if len(values) != 1:
        raise _invalid(f"{name} takes one value, not {len(values)}.")
    return values[0]


def _expand(text: str, stored: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in stored:
            raise _invalid(f"Parameters [{match[1]}] are not found or have no valid type.")
        return stored[match[1]]

    return STORED.sub(value, text)


def _size(given: Mapping[str, Sequence[str]]) -> int:
    """Return the bytes of the document with the parameters in their places."""
    filled = {
        "schemaVersion": "1.2",
        "description": "Run a shell script or specify the commands to run.",
        "runtimeConfig": {
            PLUGIN: {
                "properties": [
                    {
                        "id": f"0.{PLUGIN}",
                        "runCommand": list(given["commands"]),
                        "workingDirectory": list(given.get("workingDirectory", [""])),
                        "timeoutSeconds": list(given.get("executionTimeout", ["3600"])),
                    }
                ]
            }
        },
    }
    return len(json.dumps(filled, ensure_ascii=False).encode())
