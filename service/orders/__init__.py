"""An order's way: models, api, admission, ledger, worker, payments; invariants say what must always hold."""
