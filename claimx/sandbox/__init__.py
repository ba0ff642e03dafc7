"""A local Kusto, ClaimX API, media host and OneLake with faults; the pipeline never imports it."""
