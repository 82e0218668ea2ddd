"""SPDX license expressions: valid, of licenses that SPDX lists. Only this module imports packaging.

Format: SPDX 2.3, annex D.
"""

NO_ASSERTION = "NOASSERTION"


def fault(expression: str) -> str:
    """What is wrong with a license expression; '' if it is valid and spelled as SPDX spells it.

    NOASSERTION alone, which stands for a license that nobody has determined yet, is valid.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if expression == NO_ASSERTION:
        return ""
    try:
        canonical = canonicalize_license_expression(expression)
    except InvalidLicenseExpression as error:
        return str(error)
    return "" if canonical == expression else f"SPDX spells it {canonical}"
