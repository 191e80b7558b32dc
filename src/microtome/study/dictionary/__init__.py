"""A dictionary as a page: how it trained, how its latents are used, where they lie, and what each one shows."""

from microtome.study.dictionary.page import dictionary_page, dictionary_sections

__all__ = ["dictionary_page", "dictionary_sections"]
