"""claimx: ClaimX events from an Eventhouse, enriched, with their media, into nine Delta tables."""
