"""The runtime lane: capture a real train-mode step, find its normalizations, measure their gradients. Needs torch."""
