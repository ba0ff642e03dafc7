"""A local Kusto, ClaimX API, media host and OneLake, with faults on request; never imported by the pipeline."""
