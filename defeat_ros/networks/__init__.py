"""Networks of DeFeat-Net in the published layout."""
