"""Prompts, Stable Diffusion 2.1 and 3 in their layouts, CLIP: small random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import one_line

from hierdiff import run
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.validation.experiments.classification import NetworkClassification
from hierdiff.validation.experiments.own_images import OwnClassified
from hierdiff.validation.pretrained.own_models import open_model
from hierdiff.validation.pretrained.prompts import (
    PromptedNetwork,
    Prompts,
    class_scores,
    clip_classifier,
    encode_prompts,
    read_prompts,
)

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 16, "projection_dim": 8,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}  # fmt: skip


def tokenizer(folder: Path) -> int:
    """A tokenizer of single letters in CLIP's layout; returns its number of tokens."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,"]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{x}</w>" for x in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16}
    ))  # fmt: skip
    return len(words)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def pipeline(folder: Path, kind: str) -> Any:
    """A pipeline as published, of a few thousand random weights."""
    torch.manual_seed(0)
    size = tokenizer(folder / "tokenizer")
    config = transformers.CLIPTextConfig(vocab_size=size, **TEXT)
    coder = diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32,),
        norm_num_groups=8, scaling_factor=0.5,
    )  # fmt: skip
    coder.save_pretrained(folder / "vae")
    if kind == "2.1":
        transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
        network = diffusers.UNet2DConditionModel(
            sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
            use_linear_projection=True,
        )  # fmt: skip
        scheduler = diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
            prediction_type="v_prediction",
        )  # fmt: skip
        part = "unet"
    else:
        encoder = transformers.CLIPTextModelWithProjection
        encoder(config).save_pretrained(folder / "text_encoder")
        tokenizer(folder / "tokenizer_2")
        encoder(config).save_pretrained(folder / "text_encoder_2")
        network = diffusers.SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2,
            attention_head_dim=8, num_attention_heads=2, joint_attention_dim=48,
            caption_projection_dim=16, pooled_projection_dim=16, pos_embed_max_size=8,
        )  # fmt: skip
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        part = "transformer"
    network.save_pretrained(folder / part)
    scheduler.save_pretrained(folder / "scheduler")
    names = {part: ["diffusers", type(network).__name__]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "P", **names}))
    return network.eval()


@pytest.mark.parametrize("kind", ["2.1", "3"])
def test_stable_diffusion_by_folder_is_its_network(kind: str, tmp_path: Path) -> None:
    network = pipeline(tmp_path, kind)
    found = open_model(tmp_path)
    assert found.condition == "text embedding"
    texts = encode_prompts(tmp_path, ["a cat.", "a dog."])
    assert texts.shape == ((2, 16, 16) if kind == "2.1" else (2, 17, 48))
    assert np.ptp(texts[0] - texts[1]) > 0
    model = PromptedNetwork(found.network, texts)
    x_t = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32)
    snr = float(model.noise.snr(0.4))
    a, s = np.sqrt(snr / (1 + snr)), np.sqrt(1 / (1 + snr))
    time = torch.full((2,), float(model.noise_conditioning.time(snr)))
    with torch.inference_mode():
        if kind == "2.1":
            given = torch.from_numpy(texts)
            out = network(torch.from_numpy(x_t), time, encoder_hidden_states=given)
            v = out.sample.numpy()
            expected = a * x_t - s * v
        else:
            assert float(time[0]) == pytest.approx(1000 * s / (a + s), rel=1e-5)
            flow = network(
                torch.from_numpy(x_t / np.float32(a + s)), timestep=time,
                encoder_hidden_states=torch.from_numpy(texts[:, :-1]),
                pooled_projections=torch.from_numpy(texts[:, -1, :16]),
            ).sample.numpy()  # fmt: skip
            expected = (x_t - s * flow) / (a + s)
    np.testing.assert_allclose(
        model.given([0, 1]).denoise(x_t, 0.4), expected, rtol=1e-3, atol=1e-4
    )


def clip_folder(folder: Path) -> Any:
    torch.manual_seed(1)
    size = tokenizer(folder)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 8, "patch_size": 4,
              "projection_dim": 8}  # fmt: skip
    config = transformers.CLIPConfig(
        text_config={**TEXT, "vocab_size": size}, vision_config=vision, projection_dim=8
    )
    model = transformers.CLIPModel(config)
    model.save_pretrained(folder)
    return model.eval()


def test_text_prompts_and_clip_through_the_study(tmp_path: Path) -> None:
    from PIL import Image

    pipeline(tmp_path / "sd", "2.1")
    clip_folder(tmp_path / "clip")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(256, size=(64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    rows = ("classname,classidx,prompt", "cat,0,a cat.", "cat,0,a photo of a cat.",
            "dog,1,a dog.", "dog,1,one dog.")  # fmt: skip
    table = write(tmp_path / "p.csv", "\n".join(rows) + "\n")
    source = OwnClassified(
        str(tmp_path / "sd"), str(tmp_path / "images"), data=4, prompts=table,
        clip=tmp_path / "clip", stages=None,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        from hierdiff.validation.experiments import image_folders

        patch.setattr(image_folders, "GRID", image_folders.GRID[::125])
        ds = run(NetworkClassification(source), out=tmp_path / "out", quiet=True)[
            "network_classification"
        ]
    assert ds.sizes == {"image": 4, "class": 2}
    assert np.isfinite(ds.scores.values).all()
    assert 0 <= float(ds.clip_accuracy) <= 1
    assert float(ds.minus_clip) == pytest.approx(float(ds.accuracy) - float(ds.clip_accuracy))


def test_clip_is_the_cosine_of_its_towers(tmp_path: Path) -> None:
    model = clip_folder(tmp_path)
    prompts = Prompts.of(("cat", "dog"), ("a {}.", "one {}."))
    found = clip_classifier(tmp_path, prompts)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 8, 8)).astype(np.float32)
    words = transformers.CLIPTokenizer.from_pretrained(tmp_path)(
        list(prompts.texts), padding=True, return_tensors="pt"
    )
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(1, 3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(1, 3, 1, 1)
    with torch.inference_mode():
        out = model(pixel_values=((torch.from_numpy(images) + 1) / 2 - mean) / deviation,
                    input_ids=words.input_ids, attention_mask=words.attention_mask)  # fmt: skip
    unit = out.text_embeds / out.text_embeds.norm(dim=1, keepdim=True)
    both = unit.reshape(2, 2, -1).mean(dim=1)
    both = both / both.norm(dim=1, keepdim=True)
    image = out.image_embeds / out.image_embeds.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(found.scores(images), -(image @ both.T).numpy(), atol=1e-5)


def test_prompts_from_a_table_and_templates(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.csv", "classidx,classname\n1,dog\n0,cat\n")
    found = read_prompts(plain, ("a {}.", "one {}."))
    assert found.names == ("cat", "dog")
    assert found.texts == ("a cat.", "one cat.", "a dog.", "one dog.")
    scores = class_scores(np.array([[1.0, 3.0, 0.0, 1.0]]), found)
    assert scores.tolist() == [[2.0, 0.5]]


def test_bad_prompts_are_one_line(tmp_path: Path) -> None:
    def table(text: str) -> Callable[[], Any]:
        return lambda: read_prompts(write(tmp_path / "x.csv", text))

    pipeline(tmp_path / "sd", "2.1")
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (table("name,number\ncat,0\n"), InvalidParameter, "lacks classname and classidx"),
        (table(""), InvalidParameter, "columns none"),
        (table("classname,classidx\n"), InvalidParameter, "no rows below its head"),
        (table("classname,classidx\ncat,zero\n"), InvalidParameter, "line 2"),
        (table("classname,classidx\ncat,0\ndog,0\n"), InvalidParameter, "'cat' and 'dog'"),
        (table("classname,classidx\ncat,0\ndog,2\n"), InvalidParameter, "all from 0"),
        (table("classname,classidx\ncat,0\n"), InvalidParameter, "there is one class"),
        (table("classname,classidx,prompt\ncat,0,\ndog,1,a dog\n"), InvalidParameter,
         "empty prompt"),
        (lambda: read_prompts(tmp_path / "none.csv"), InvalidParameter, "cannot be read"),
        (lambda: Prompts.of(("cat", "dog"), ("a photo",)), InvalidParameter, "one place"),
        (lambda: encode_prompts(tmp_path, ["a"]), InvalidParameter, "has no tokenizer"),
        (lambda: clip_classifier(tmp_path, Prompts.of(("a", "b"))), DamagedFile, "is no CLIP"),
        (lambda: OwnClassified(clip=tmp_path), InvalidParameter, "give --prompts"),
        (lambda: run(NetworkClassification(OwnClassified(str(tmp_path / "sd"), "digits")),
                     out=tmp_path / "out"), InvalidParameter, "with --prompts"),
    ]  # fmt: skip
    for call, kind, words in cases:
        with pytest.raises(kind, match=words) as error:
            call()
        one_line(error)
