"""What is to be done and what it costs, durably: jobs, attempts, ledger, leases, in one database."""
