"""Money that customers pay online: a small gateway interface, its gateways, and what they credit to the ledger."""
