"""Package of modules that measure generated images: Fréchet distance, variation, interpolation, objects; no exports."""
