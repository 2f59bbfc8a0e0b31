"""The catalogue: every fault has places, every place exists and says what must be found."""
from __future__ import annotations

import re

import pytest

from alignment.align import STEPS
from alignment.faults import catalogue
from alignment.faults.manifests import SYSTEMS, manifest
from alignment.faults.matrix import CUSTOMARY
from alignment.faults.session import step

PLACES = [pytest.param(fault, place, id=f"{fault.name}-{place.system}")
          for fault in catalogue.FAULTS for place in fault.places]


def test_there_are_many_faults_and_each_has_one_place_a_system():
    names = [fault.name for fault in catalogue.FAULTS]
    assert len(names) >= 25 and len(set(names)) == len(names)
    for fault in catalogue.FAULTS:
        systems = [place.system for place in fault.places]
        assert systems and len(set(systems)) == len(systems), fault.name


def test_every_system_has_faults_in_every_kind_of_step():
    steps = {(place.system, step(manifest(place.system, place.case), stage))
             for fault in catalogue.FAULTS for place in fault.places for stage in place.stages}
    assert {system for system, _ in steps} == set(SYSTEMS)
    for wanted in CUSTOMARY:
        assert sum(found == wanted for _, found in steps) >= 4, wanted


@pytest.mark.parametrize(("fault", "place"), PLACES)
def test_a_place_names_stages_of_an_existing_case_and_what_must_be_found(fault, place):
    described = manifest(place.system, place.case)
    assert place.stages and set(place.stages) <= set(described["stages"])
    order = [STEPS.index(step(described, stage)) for stage in place.stages]
    assert order == sorted(order), "the stage that locates a fault is the first step it touches"
    assert place.found and re.compile(place.found) and re.compile(place.detail) is not None
    assert re.fullmatch(place.found, "made up name") is None, "it must not match everything"
    assert catalogue.place(fault.name, place.system) is place


def test_the_reduced_form_has_every_fault_once_and_every_system():
    found = catalogue.reduced(list(SYSTEMS))
    names = [fault.name for places in found.values() for fault, _ in places]
    assert sorted(names) == sorted(fault.name for fault in catalogue.FAULTS)
    assert {system for system, _ in found} == set(SYSTEMS)


def test_an_unknown_fault_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no fault 'rumour' in mvf; there are bn_epsilon"):
        catalogue.planted(["mvf"], "rumour")
    with pytest.raises(ValueError, match=r"in case 'rumour' of mvf"):
        catalogue.planted(["mvf"], case="rumour")
