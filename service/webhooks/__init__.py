"""Webhooks: order changes told to the merchant's own endpoint, after the Standard Webhooks specification."""
