"""Pictures of what generative models make."""
