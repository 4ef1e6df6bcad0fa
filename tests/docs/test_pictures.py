"""The pictures of the documentation are what the statistics draw today."""

from __future__ import annotations

import re

import pytest

from infra import docs_pictures
from tests.docs.pages import PAGES


@pytest.mark.parametrize("name", docs_pictures.PICTURES)
def test_a_picture_is_up_to_date(name: str) -> None:
    there = (docs_pictures.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert there == docs_pictures.svg(name), "python -m infra.docs_pictures draws them again"


@pytest.mark.parametrize("name", docs_pictures.PICTURES)
def test_a_picture_is_shown_with_words_for_those_who_do_not_see_it(name: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES.values())
    (words,) = re.findall(rf"!\[([^\]]+)\]\([./]*pictures/{name}\.svg\)", text)
    assert len(words) > 20


def test_each_planted_study_gets_the_answer_it_was_planted_for() -> None:
    text = docs_pictures.svg("four-answers")
    assert all(text.count(f">{word}<") == 1 for word in docs_pictures.WORDS.values())
