"""Which form of a computation runs: by the processor, or as an environment variable fixes it."""

import pytest
import torch
from makers import needs_exporting

import mmvit
from mmvit import InputError
from mmvit.layers import bands, forms
from mmvit.layers.forms import FORMS, Form

each_form = pytest.mark.parametrize("form", FORMS, ids=[form.variable for form in FORMS])


@pytest.fixture(autouse=True)
def nothing_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in FORMS:
        monkeypatch.delenv(form.variable, raising=False)


def processor(monkeypatch: pytest.MonkeyPatch, bfloat16: bool, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)


def chosen() -> dict[str, tuple[bool, bool]]:
    """Return whether each form runs, in inference and in training."""
    return {choice.variable.removeprefix("MMVIT_"): (choice.inference, choice.training) for choice in forms.choices()}


def test_the_processor_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As measured on an AMD EPYC with AVX512-BF16 and on an Intel Xeon with AMX; others have no units for bfloat16."""
    both = dict(PHASES=(True, True), TRITON=(False, False))
    processor(monkeypatch, bfloat16=True, amx=False)
    amd = dict(BANDS=(True, True), CONVOLUTIONAL_BANDS=(True, True), MAP_BANDS=(True, True))
    assert chosen() == both | amd | dict(ATTENTION_IN_BLOCKS=(True, False), AUTO_BFLOAT16=(True, True))
    processor(monkeypatch, bfloat16=True, amx=True)
    intel = dict(BANDS=(True, False), CONVOLUTIONAL_BANDS=(False, True), MAP_BANDS=(False, True))
    assert chosen() == both | intel | dict(ATTENTION_IN_BLOCKS=(False, False), AUTO_BFLOAT16=(True, True))
    assert forms.fastest_precision("cpu") == "bfloat16"
    processor(monkeypatch, bfloat16=False, amx=False)
    assert chosen() == both | amd | dict(ATTENTION_IN_BLOCKS=(False, False), AUTO_BFLOAT16=(False, False))
    precisions = [forms.fastest_precision(device, training=True) for device in ("cpu", "cuda", "mps")]
    assert precisions == ["float32", "float16", "float32"]


@each_form
def test_a_variable_fixes_the_form(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("0", "1"):
        monkeypatch.setenv(form.variable, value)
        row = next(choice for choice in forms.choices() if choice.variable == form.variable)
        assert (row.inference, row.training, row.reason) == (value == "1", value == "1", f"{form.variable}={value}")
        runs = form.runs_on(torch.zeros(1, device="cpu"))
        assert runs == (value == "1" and form.device == "cpu")


@each_form
def test_other_values_are_refused(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(form.variable, "yes")
    with pytest.raises(InputError, match=rf"{form.variable}='yes': expected 1 \("):
        list(forms.choices())


@each_form
@needs_exporting
def test_exported_programs_have_no_form_of_their_own(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(form.variable, "1")
    monkeypatch.setattr(forms.versions, "is_exporting", lambda: True)
    assert not form.runs_on(torch.zeros(1))


@pytest.mark.parametrize("name", ["pvt_tiny", "pvt_v2_b0", "van_b0"])
def test_each_kind_of_mlp_has_bands_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"pvt_tiny": forms.BANDS, "pvt_v2_b0": forms.CONVOLUTIONAL_BANDS, "van_b0": forms.MAP_BANDS}[name]
    cut, images = bands.bands_of, torch.rand(1, 3, 64, 64)
    calls: list[int] = []
    monkeypatch.setattr(bands, "WHOLE", 0)
    monkeypatch.setattr(bands, "bands_of", lambda *arguments: calls.append(1) or cut(*arguments))
    model = mmvit.create(name, out_indices=(0,)).eval()
    for form in (forms.BANDS, forms.CONVOLUTIONAL_BANDS, forms.MAP_BANDS):
        monkeypatch.setenv(form.variable, str(int(form is not kind)))
    with torch.no_grad():
        whole = model(images)[0]
        assert not calls
        monkeypatch.setenv(kind.variable, "1")
        torch.testing.assert_close(model(images)[0], whole)
        assert calls
