"""Amazon Web Services as RUNE needs them: sessions, Systems Manager, S3, finding instances.

What belongs here: all that speaks to AWS through boto3, which is imported only when a target or an
inventory source asks for it. What a command comes to is decided in ``lmm.transports.ssm``.
"""
