"""Cloud DNS: managed zones and their record sets, as records. Instances resolve them."""
