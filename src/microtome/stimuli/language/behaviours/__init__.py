"""The behaviours of the language world, one file each."""

from microtome.stimuli.language.behaviours import (
    agreement,
    arithmetic,
    brackets,
    code,
    coloured_objects,
    entity_binding,
    gender,
    greater_than,
    indirect_object,
    induction,
    languages,
    sentiment,
    stored_facts,
    successor,
    topics,
    toxicity,
)

#: Name -> behaviour, in the order in which they are documented.
BEHAVIOURS = {
    behaviour.name: behaviour
    for behaviour in (
        indirect_object.BEHAVIOUR,
        greater_than.BEHAVIOUR,
        successor.BEHAVIOUR,
        induction.BEHAVIOUR,
        coloured_objects.BEHAVIOUR,
        entity_binding.BEHAVIOUR,
        stored_facts.BEHAVIOUR,
        stored_facts.TWO_HOPS,
        stored_facts.TRUTH,
        agreement.BEHAVIOUR,
        gender.BEHAVIOUR,
        gender.GENDER,
        gender.OCCUPATION,
        arithmetic.BEHAVIOUR,
        languages.BEHAVIOUR,
        languages.LANGUAGES,
        brackets.BEHAVIOUR,
        code.BEHAVIOUR,
        sentiment.BEHAVIOUR,
        toxicity.BEHAVIOUR,
        topics.BEHAVIOUR,
    )
}
