"""An order's way: admission, checkout, placement, the worker, its payment, and what is done to it afterwards."""
