"""``nas bench``: what the arithmetic costs here, beside what people use today."""
