"""Pipelines of Transformers: tiny models with random weights, saved, and loaded without a network as MLflow does."""

from __future__ import annotations

import json
import os
import pickle
import socket

import numpy as np
import pandas as pd
import pytest

from deep import need_later
from prefect_ml.errors import ArtifactError, InvalidInputError, UntrustedModelError
from prefect_ml.models.folder import load_model, save_model

os.environ["HF_HUB_OFFLINE"] = "1"
torch = need_later("torch")
tokenizers = need_later("tokenizers")
transformers = need_later("transformers")
# Transformers warns of models without training, torch of the machine.
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "bad",
    "day",
    "good",
    "it",
    "is",
    "was",
    "this",
    "example",
    ".",
]
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXTS = ["this is a good day", "it was bad"]


@pytest.fixture(scope="module")
def tokenizer():
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.post_processor = tokenizers.processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **special)


def pipeline(task, tokenizer):
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "max_position_embeddings": 32, **SIZES}
    if task == "text-generation":
        config = transformers.GPT2Config(
            vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, eos_token_id=3, bos_token_id=2
        )
        model = transformers.GPT2LMHeadModel(config)
        model.generation_config.do_sample = False
        model.generation_config.max_new_tokens = 5
        model.generation_config.pad_token_id = 0
    else:
        class_ = {
            "text-classification": "BertForSequenceClassification",
            "zero-shot-classification": "BertForSequenceClassification",
            "fill-mask": "BertForMaskedLM",
            "token-classification": "BertForTokenClassification",
            "feature-extraction": "BertModel",
        }[task]
        labels = {0: "contradiction", 1: "entailment"} if task.startswith("zero") else {0: "no", 1: "yes"}
        config = transformers.BertConfig(**sizes, id2label=labels, label2id={v: k for k, v in labels.items()})
        model = getattr(transformers, class_)(config)
    return transformers.pipeline(task, model=model.eval(), tokenizer=tokenizer)


EXAMPLES = {
    "text-classification": TEXTS,
    "fill-mask": ["this is a [MASK] day", "it [MASK] bad"],
    "text-generation": TEXTS,
    "token-classification": TEXTS,
    "feature-extraction": TEXTS,
    "zero-shot-classification": {"sequences": "this is a good day", "candidate_labels": ["good", "bad"]},
}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def alike(left, right):
    if isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right, check_exact=False, atol=1e-5)
    elif isinstance(left, np.ndarray):
        assert np.allclose(left, right, atol=1e-5)
    else:
        assert left == right


@pytest.mark.parametrize("task", EXAMPLES)
def test_pipelines_load_from_anywhere_and_give_what_mlflows_pyfunc_gives(task, tokenizer, tmp_path, no_network):
    import mlflow

    made = pipeline(task, tokenizer)
    info = save_model(made, tmp_path / "m", input_example=EXAMPLES[task])
    assert list((tmp_path / "m/model").glob("*.safetensors"))
    loaded = load_model(tmp_path / "m", origin="of a stranger")
    assert (loaded.flavor.name, type(loaded.native)) == ("transformers", type(made))
    torch.manual_seed(1)  # Transformers 4 samples the texts that it generates
    found = loaded.predict(EXAMPLES[task])
    theirs = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    torch.manual_seed(1)
    alike(found, theirs.predict(EXAMPLES[task]))
    assert info.signature is not None
    native = mlflow.transformers.load_model(str(tmp_path / "m"))
    assert native.task == task


def test_texts_frames_and_arrays_are_the_same(tokenizer, tmp_path):
    save_model(pipeline("text-classification", tokenizer), tmp_path / "m")
    loaded = load_model(tmp_path / "m", origin="x")
    wanted = loaded.predict(TEXTS)
    assert list(wanted.columns) == ["label", "score"]
    for data in (pd.DataFrame({"text": TEXTS}), np.array(TEXTS), pd.Series(TEXTS), [{"text": text} for text in TEXTS]):
        alike(loaded.predict(data), wanted)
    alike(loaded.predict(TEXTS[0]), wanted[:1])
    pairs = [{"text": TEXTS[0], "text_pair": TEXTS[1]}]
    assert not np.allclose(loaded.predict(pairs)["score"], wanted["score"][:1], rtol=0, atol=1e-7)
    assert len(loaded.predict(TEXTS, {"top_k": 2}).columns) == 2


def test_dicts_with_other_keys_are_refused(tokenizer, tmp_path):
    save_model(pipeline("zero-shot-classification", tokenizer), tmp_path / "m")
    with pytest.raises(InvalidInputError, match="sequences and candidate_labels"):
        load_model(tmp_path / "m", origin="x").predict({"sequences": "was it good"})


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "m"
    save_model(pipeline("text-classification", tokenizer), folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    import shutil

    return shutil.copytree(saved, tmp_path / "m")


def changed(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def section(folder, **values):
    import yaml

    content = yaml.safe_load((folder / "MLmodel").read_text())
    content["flavors"]["transformers"].update(values)
    (folder / "MLmodel").write_text(yaml.safe_dump(content))


def bomb_as_weights(folder, bomb):
    (folder / "model/model.safetensors").unlink()
    (folder / "model/pytorch_model.bin").write_bytes(pickle.dumps(bomb))


def test_pickled_weights_need_trust_and_never_run(folder, bomb, tmp_path):
    bomb_as_weights(folder, bomb)
    with pytest.raises(UntrustedModelError, match="pickled weights"):
        load_model(folder, origin="x")
    # Transformers reads weights as weights, also of those who are trusted.
    with pytest.raises(ArtifactError):
        load_model(folder, origin="x", trusted_origins=["x"])
    assert not (tmp_path / "exploded").exists()


def test_pickled_weights_of_a_trusted_origin_load(folder, saved):
    import safetensors.torch

    weights = safetensors.torch.load_file(folder / "model/model.safetensors")
    (folder / "model/model.safetensors").unlink()
    torch.save(weights, folder / "model/pytorch_model.bin")
    found = load_model(folder, origin="x", trusted_origins=["x"]).predict(TEXTS)
    alike(found, load_model(saved, origin="x").predict(TEXTS))


REMOTE = {
    "AutoConfig": "evil.Config",
    "AutoModelForSequenceClassification": "evil.Model",
    "AutoTokenizer": ["evil.T", None],
}
ATTACKS = {
    "code for the model": lambda folder: changed(folder / "model/config.json", auto_map=REMOTE, model_type="evil"),
    "code for the model beside a known type": lambda folder: changed(folder / "model/config.json", auto_map=REMOTE),
    "code for the tokenizer": lambda folder: changed(
        folder / "components/tokenizer/tokenizer_config.json", auto_map=REMOTE, tokenizer_class="EvilTokenizer"
    ),
    "a class of the model's own": lambda folder: section(folder, pipeline_model_type="EvilModel"),
    "a function for a class": lambda folder: section(folder, pipeline_model_type="pipeline"),
    "a module for a class": lambda folder: section(folder, pipeline_model_type="os"),
    "a tokenizer of the model's own": lambda folder: section(folder, tokenizer_type="EvilTokenizer"),
    "an adapter": lambda folder: section(folder, peft_adaptor="peft"),
    "an adapter in the folder": lambda folder: (folder / "model/adapter_config.json").write_text(
        '{"base_model_name_or_path": "/elsewhere"}'
    ),
    "weights of the hub": lambda folder: section(folder, source_model_revision="1234", source_model_name="a/b"),
    "weights elsewhere": lambda folder: section(folder, local_base_model_path="/elsewhere"),
    "a folder outside": lambda folder: section(folder, model_binary="../outside"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("trusted", [(), ("x",)], ids=["untrusted", "trusted"])
def test_no_code_of_the_folder_runs_and_nothing_is_fetched(folder, tmp_path, attack, trusted, no_network):
    evil = f"from pathlib import Path; Path({str(tmp_path / 'exploded')!r}).touch()"
    for place in ("model/evil.py", "components/tokenizer/evil.py", "evil.py"):
        (folder / place).write_text(evil)
    ATTACKS[attack](folder)
    try:
        load_model(folder, origin="x", trusted_origins=trusted)
    except (ArtifactError, InvalidInputError, UntrustedModelError) as error:
        said = str(error)
    else:
        said = ""
    assert not (tmp_path / "exploded").exists()
    # A class that Transformers has by its name is loaded as such, whatever else the configuration says.
    known = attack.startswith("code for") or attack == "a tokenizer of the model's own"
    assert bool(said) is not known, said


def test_a_model_of_ones_own_class_is_not_saved(tokenizer, tmp_path):
    class Mine(transformers.BertForSequenceClassification):
        pass

    model = Mine(transformers.BertConfig(vocab_size=len(WORDS), **SIZES))
    with pytest.raises(InvalidInputError, match="no class of Transformers"):
        save_model(transformers.pipeline("text-classification", model=model, tokenizer=tokenizer), tmp_path / "m")


def test_a_model_with_adapters_is_not_saved(tokenizer, tmp_path):
    made = pipeline("text-classification", tokenizer)
    # Transformers' own mark; such a model's save_pretrained writes the adapters alone.
    made.model._hf_peft_config_loaded = True
    with pytest.raises(InvalidInputError, match="merge"):
        save_model(made, tmp_path / "m")
