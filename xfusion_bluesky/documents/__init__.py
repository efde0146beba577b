"""What a raw and a processed run look like as documents, and the journal that carries them."""
