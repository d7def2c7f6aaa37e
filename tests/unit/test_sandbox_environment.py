from pathlib import Path

import pytest

from services.sandbox import SecretForbidden, SecretMissing
from services.sandbox.environment import child_environment, chosen_secrets

SERVICE = {
    "PATH": "/usr/bin",
    "LANG": "de_DE.UTF-8",
    "AUTOPACK_LOG": "kafka://broker",
    "KAFKA_SASL_PASSWORD": "broker-password",
    "PGPASSWORD": "database-password",
    "MODEL_KEY": "model-key",
    "HOME": "/root",
    "LD_PRELOAD": "/evil.so",
}


def test_of_the_services_environment_only_a_short_list_passes():
    child = child_environment(SERVICE, Path("/home/x"), Path("/tmp"), Path("/work"))
    assert not {"AUTOPACK_LOG", "KAFKA_SASL_PASSWORD", "PGPASSWORD", "MODEL_KEY", "LD_PRELOAD"} & child.keys()
    assert (child["PATH"], child["LANG"], child["HOME"]) == ("/usr/bin", "de_DE.UTF-8", "/home/x")


def test_a_secret_is_given_by_name_alone():
    assert chosen_secrets(SERVICE, ["MODEL_KEY"]) == {"MODEL_KEY": "model-key"}
    with pytest.raises(SecretMissing, match="OTHER_KEY"):
        chosen_secrets(SERVICE, ["OTHER_KEY"])


@pytest.mark.parametrize("name", ["AUTOPACK_LOG", "KAFKA_SASL_PASSWORD", "PGPASSWORD", "A=B", "", "1X"])
def test_variables_of_the_services_own_are_never_given(name: str):
    with pytest.raises(SecretForbidden):
        chosen_secrets({**SERVICE, name: "value"}, [name])
