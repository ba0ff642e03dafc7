"""
What the pipeline needs of the outside, as Protocols by side; each docstring is the contract.

Every port has a real implementation in `claimx.adapters` and an in-memory one in
`claimx.adapters.memory`, and both pass the suite in ``tests/contracts``.
All ports raise `claimx.domain.errors.ClaimXError` subclasses only.
"""
