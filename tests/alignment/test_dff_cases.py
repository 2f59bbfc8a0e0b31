"""The built-in cases of deep feature flow."""
from alignment.cases.dff import manifests


def test_only_the_data_case_has_no_network():
    for manifest in manifests():
        # An empty list would say that there is nothing to build; networks are listed by the twin, or prepared.
        assert (manifest.get("state") == []) == (manifest["network"] == "warp"), manifest["case"]
