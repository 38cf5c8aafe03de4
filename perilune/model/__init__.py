"""The network: plain definitions beside the fast forms that are tested against them."""
