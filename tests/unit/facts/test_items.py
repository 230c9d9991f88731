"""Checkable items: what is looked up in a text, and what counts as said there."""

from soaptune.facts import Item, Vocabulary, unstated

VOCABULARY = Vocabulary(["chest pain", "pain", "metoprolol 25 mg", "lisinopril 10 mg", "nausea", "two weeks", "fever"])


def test_items_are_the_longest_terms_and_the_quantities_beside_them():
    items = VOCABULARY.items("Chest pain for 3 days; no fever; metoprolol 25 mg, blood pressure 120/80. Chest pain.")
    assert items == (
        Item("chest pain"),
        Item("fever", denied=True),
        Item("metoprolol 25 mg"),
        Item("3 day", quantity=True),
        Item("120/80", quantity=True),
    )


def test_one_as_a_pronoun_is_no_quantity():
    assert VOCABULARY.items("One of them, no one, once") == ()


def test_a_quantity_is_said_with_its_unit_or_where_one_side_names_none():
    item = Item("3 day", quantity=True)
    assert not unstated([item], "for three days")
    assert not unstated([item], "it was 3, I think")
    assert unstated([item], "for 3 weeks")
    assert unstated([item], "30 days")


def test_a_denied_term_is_said_where_it_is_denied():
    assert not unstated([Item("fever", denied=True)], "There is no fever.")
    assert unstated([Item("fever", denied=True)], "There is fever.")
    assert unstated([Item("fever")], "There is no fever.")
    assert not unstated([Item("fever")], "There is no fever.", either_way=True)


def test_a_term_is_unsaid_when_the_source_never_says_it_denied_or_not():
    vocabulary = Vocabulary(["Ibuprofen", "amoxicillin", "amoxicillin clavulanate"])
    items = vocabulary.items("ibuprofen, amoxicillin clavulanate, amoxicillin")
    assert unstated(items, "no Ibuprofen; amoxicillin", either_way=True) == (Item("amoxicillin clavulanate"),)
    assert vocabulary.items("nothing") == ()
