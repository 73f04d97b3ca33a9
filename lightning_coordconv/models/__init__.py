"""Networks: plain nn.Modules."""
