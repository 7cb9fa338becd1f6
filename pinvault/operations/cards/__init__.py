"""The use cases of CardPinService: one file each, on one desk."""
