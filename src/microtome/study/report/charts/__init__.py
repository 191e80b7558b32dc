"""Charts as inline SVG and plain values: each chart is one pure function of numbers, laid out by the templates."""
