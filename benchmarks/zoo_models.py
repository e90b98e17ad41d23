"""The networks of the zoo: how each is built with random weights, and what it is run on.

Nothing is downloaded. An ``Entry`` is a name and a function; building happens in the process that measures.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

CLASSIFICATION, SEGMENTATION, VIDEO, DETECTION = (
    f"torchvision {kind}" for kind in ("classification", "segmentation", "video", "detection")
)
TIMM, YOLO, HF = "timm", "YOLO", "Hugging Face"

TOO_LARGE = frozenset({"vit_h_14", "regnet_y_128gf"})
"""The two largest of torchvision, 632 and 645 million parameters."""


@dataclass(frozen=True)
class Case:
    """A network in eval mode, and inputs that its forward takes."""

    module: nn.Module
    inputs: tuple[Tensor, ...] | dict[str, list[Tensor]]


@dataclass(frozen=True)
class Entry:
    """``arch`` and ``arguments`` are what ``--arch`` and ``--arch-arg`` take to build the same network; None
    where there is no such name.
    """

    group: str
    name: str
    build: Callable[[], Case]
    arch: str | None = None
    arguments: Mapping[str, int] = field(default_factory=dict)


def image(*shape: int) -> Tensor:
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))


def tokens(length: int, vocabulary: int) -> Tensor:
    return torch.randint(0, vocabulary, (1, length), generator=torch.Generator().manual_seed(0))


def with_values(module: nn.Module) -> nn.Module:
    """``module`` in eval mode, without the values at which a network hides its own units from its output:
    fresh statistics, zero biases and gammas, layer scales of 1e-6.
    """
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._NormBase) and child.affine:
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.uniform_(child.bias, -0.5, 0.5)
            if child.running_var is not None:
                nn.init.uniform_(child.running_var, 0.5, 1.5)
    for parameter in module.parameters():
        if parameter.is_floating_point() and parameter.numel() and parameter.abs().max() < 1e-3:
            nn.init.uniform_(parameter, -0.5, 0.5)
    return module.eval()


def torchvision_case(name: str) -> Case:
    from torchvision import models

    options: dict[str, Any] = dict(arguments_of(name))
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    group = _torchvision_group(name)
    if group in (SEGMENTATION, DETECTION):
        options["weights_backbone"] = None
    module = models.get_model(name, weights=None, **options)
    if group == DETECTION:
        return Case(module, {"images": [image(3, 320, 320)[0]]})
    if group == VIDEO:
        return Case(module, (image(3, *CLIPS.get(name.partition("_")[0], (8, 64, 64))),))
    if group == SEGMENTATION:
        return Case(module, (image(3, 256, 256),))
    keywords = models.get_model_weights(name).DEFAULT.transforms.keywords
    side = module.image_size if isinstance(module, models.VisionTransformer) else keywords["crop_size"]
    return Case(module, (image(3, side, side),))


def _torchvision_group(name: str) -> str:
    from torchvision import models

    rooms = {SEGMENTATION: models.segmentation, VIDEO: models.video, DETECTION: models.detection}
    return next((g for g, room in rooms.items() if name in models.list_models(module=room)), CLASSIFICATION)


def arguments_of(name: str) -> dict[str, int]:
    """What makes a network small enough to take seconds."""
    family = name.partition("_")[0]
    if family in ("fcos", "retinanet"):
        return {"min_size": 320, "max_size": 320}
    if family in ("fasterrcnn", "keypointrcnn", "maskrcnn"):
        few = {"rpn_post_nms_top_n_test": 20, "box_detections_per_img": 5}
        return {"min_size": 320, "max_size": 320, **few}
    return ARGUMENTS.get(name, {})


def timm_case(name: str) -> Case:
    import timm

    module = timm.create_model(name, pretrained=False, **arguments_of(name))
    channels, height, width = module.pretrained_cfg.get("input_size", (3, 224, 224))
    side = SIDES.get(name)
    return Case(module, (image(channels, side or height, side or width),))


def yolo_case(name: str) -> Case:
    from prunecli.networks import build

    return Case(build(f"ultralytics:{name}", {})[0], (image(3, 256, 256),))


def hf_llama() -> Case:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=128, intermediate_size=352, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=128, use_cache=False,
    )  # fmt: skip
    return Case(LlamaForCausalLM(config), (tokens(24, 512),))


def hf_qwen() -> Case:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=512, hidden_size=128, intermediate_size=352, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    return Case(Qwen2ForCausalLM(config), (tokens(24, 512),))


def hf_bert() -> Case:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=512, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=64,
    )  # fmt: skip
    return Case(BertForSequenceClassification(config), (tokens(24, 512),))


def hf_gpt2() -> Case:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=512, n_positions=64, n_embd=128, n_layer=3, n_head=4, use_cache=False)
    return Case(GPT2LMHeadModel(config), (tokens(24, 512),))


def hf_neox() -> Case:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=512, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=64, use_cache=False,
    )  # fmt: skip
    return Case(GPTNeoXForCausalLM(config), (tokens(24, 512),))


def hf_t5() -> Case:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=512, d_model=128, d_kv=32, d_ff=512, num_layers=3, num_heads=4, use_cache=False,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return Case(T5EncoderModel(config), (tokens(24, 512),))


def hf_vit() -> Case:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512, image_size=64,
        patch_size=8, num_labels=10,
    )  # fmt: skip
    return Case(ViTForImageClassification(config), (image(3, 64, 64),))


def hf_segformer() -> Case:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 8],
        decoder_hidden_size=64, num_labels=10,
    )  # fmt: skip
    return Case(SegformerForSemanticSegmentation(config), (image(3, 64, 64),))


def hf_swin() -> Case:
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=64, patch_size=4, embed_dim=48, depths=[2, 2, 2], num_heads=[3, 6, 12], window_size=4,
        num_labels=10,
    )  # fmt: skip
    return Case(SwinForImageClassification(config), (image(3, 64, 64),))


def hf_convnext() -> Case:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(hidden_sizes=[24, 48, 96, 192], depths=[2, 2, 2, 2], num_labels=10)
    return Case(ConvNextForImageClassification(config), (image(3, 64, 64),))


def hf_whisper() -> Case:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        vocab_size=512, d_model=128, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=512,
        num_mel_bins=40, max_source_positions=50,
    )  # fmt: skip
    return Case(WhisperEncoder(config), (image(40, 100),))


HF_CASES = {
    "llama-gqa": hf_llama, "qwen2": hf_qwen, "bert": hf_bert, "gpt2": hf_gpt2, "gpt-neox": hf_neox,
    "t5-encoder": hf_t5, "vit": hf_vit, "segformer": hf_segformer, "swin": hf_swin, "convnext": hf_convnext,
    "whisper-encoder": hf_whisper,
}  # fmt: skip

YOLO_CASES = (
    "yolov5n.yaml", "yolov8n.yaml", "yolov8n-seg.yaml", "yolov9t.yaml", "yolov10n.yaml", "yolo11n.yaml",
    "yolo12n.yaml",
)  # fmt: skip

CLIPS = {"mvit": (16, 224, 224), "s3d": (16, 224, 224)}
"""Frames, height and width where a network does not take a clip of 8 x 64 x 64."""

ARGUMENTS: dict[str, dict[str, int]] = {
    "deepseek_vit_412m": {"depth": 4}, "gemma4_vit_167m": {"depth": 4}, "qwen3_vit_88m": {"depth": 4},
}  # fmt: skip
SIDES = {
    "deepseek_vit_412m": 224, "gemma4_vit_167m": 192, "qwen3_vit_88m": 192, "csatv2": 256,
    "naflexvit_base_patch16_gap": 192,
}  # fmt: skip
"""Smaller images than the default ones, and fewer layers, so that each network takes seconds."""

TIMM_NAMES: tuple[str, ...] = (
    "beit_base_patch16_224", "beitv2_base_patch16_224", "botnet26t_256", "halonet26t",
    "lambda_resnet26t", "sebotnet33ts_256", "eca_halonext26ts", "haloregnetz_b", "bat_resnext26ts",
    "eca_resnext26ts", "gcresnet33ts", "gernet_s", "mobileone_s1", "regnetz_b16", "regnetz_c16_evos",
    "repvgg_a0", "repvgg_b1g4", "resnet50_clip", "resnet51q", "cait_xxs24_224", "coat_tiny",
    "coat_lite_tiny", "convit_tiny", "convmixer_768_32", "convnext_atto", "convnextv2_atto",
    "convnext_zepto_rms", "test_convnext", "cpubone_nano", "crossvit_tiny_240", "crossvit_9_dagger_240",
    "csatv2", "cs3darknet_s", "cspresnet50", "darknet53", "cspnext_tiny", "davit_tiny",
    "deepseek_vit_412m", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224", "densenet121",
    "densenetblur121d", "dla34", "dla60_res2net", "dla46x_c", "dpn48b", "dpn68", "edgenext_xx_small",
    "edgenext_small_rw", "efficientformer_l1", "efficientformerv2_s0", "efficientnet_b0",
    "efficientnet_b0_gn", "efficientnet_b0_g16_evos", "efficientnet_cc_b0_4e", "efficientnet_lite0",
    "efficientnetv2_rw_t", "efficientnet_b1_pruned", "gc_efficientnetv2_rw_t", "mixnet_s",
    "tf_mixnet_s", "mnasnet_small", "semnasnet_050", "spnasnet_100", "fbnetc_100", "tinynet_e",
    "mobilenetv1_100", "mobilenetv2_035", "mobilenet_edgetpu_v2_xs", "tf_efficientnet_b0",
    "tf_efficientnetv2_b0", "test_efficientnet_ln", "efficientvim_m1", "efficientvit_b0",
    "efficientvit_l1", "efficientvit_m0", "eva02_tiny_patch14_224", "vit_pe_core_tiny_patch16_384",
    "vit_small_patch16_rope_mixed_224", "vit_small_patch16_dinov3", "fasternet_t0", "fastvit_t8",
    "fastvit_sa12", "focalnet_tiny_srf", "gcvit_xxtiny", "gemma4_vit_167m", "ghostnet_050",
    "ghostnetv2_100", "ghostnetv3_050", "hardcorenas_a", "hgnet_tiny", "hgnetv2_b0", "hiera_tiny_224",
    "hieradet_small", "hrnet_w18_small", "iformer_t", "inception_next_atto", "inception_resnet_v2",
    "inception_v3", "inception_v4", "lcnetv2_small", "levit_128s", "levit_conv_128s", "lowformer_b0",
    "mambaout_femto", "maxvit_pico_rw_256", "maxvit_rmlp_pico_rw_256", "coatnet_pico_rw_224",
    "coatnext_nano_rw_224", "coatnet_rmlp_nano_rw_224", "maxxvitv2_nano_rw_256", "maxvit_tiny_tf_224",
    "poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18", "gmlp_ti16_224",
    "gmixer_12_224", "resmlp_12_224", "mixer_s16_224", "mobilenetv3_small_050", "mobilenetv3_rw",
    "lcnet_050", "fbnetv3_b", "mobilenetv4_conv_small_050", "mobilenetv4_hybrid_medium_075",
    "tf_mobilenetv3_small_075", "mobilenetv5_base", "mobilevit_xxs", "mobilevitv2_050", "mvitv2_tiny",
    "mvitv2_small_cls", "naflexvit_base_patch16_gap", "nasnetalarge", "nest_tiny", "nest_tiny_jx",
    "nextvit_small", "nf_regnet_b0", "nf_resnet26", "nf_ecaresnet26", "nfnet_l0", "dm_nfnet_f0",
    "eca_nfnet_l0", "test_nfnet", "pit_ti_224", "pit_ti_distilled_224", "pnasnet5large", "pvt_v2_b0",
    "pvt_v2_b2_li", "qwen3_vit_88m", "rdnet_tiny", "regnetx_002", "regnety_002", "regnetz_005",
    "regnetv_040", "regnety_040_sgn", "repghostnet_050", "repvit_m0_9", "res2net50_14w_8s",
    "res2next50", "resnest14d", "resnest50d_4s2x40d", "resnest50d_1s4x24d", "resnet10t", "resnet26t",
    "resnetblur18", "resnetaa34d", "resnetrs50", "seresnext26t_32x4d", "ecaresnet26t",
    "ecaresnet50d_pruned", "resnext50_32x4d", "resnet50_gn", "senet154", "wide_resnet50_2",
    "resnetv2_18", "resnetv2_50d_gn", "resnetv2_50d_evos", "resnetv2_50d_frn", "resnetv2_50x1_bit",
    "rexnet_100", "rexnetr_100", "selecsls42", "selecsls60b", "legacy_seresnet18",
    "legacy_seresnext26_32x4d", "sequencer2d_s", "shvit_s1", "skresnet18", "skresnet50d",
    "skresnext50_32x4d", "starnet_s050", "swiftformer_xs", "swin_tiny_patch4_window7_224",
    "swin_s3_tiny_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224", "swinv2_cr_tiny_ns_224",
    "tiny_vit_5m_224", "tnt_s_patch16_224", "tresnet_m", "tresnet_v2_l", "twins_pcpvt_small",
    "twins_svt_small", "vgg11_bn", "visformer_tiny", "vit_tiny_patch16_224",
    "vit_small_patch16_18x2_224", "vit_base_patch32_clip_224", "vit_base_patch16_xp_224",
    "vit_base_patch16_siglip_224", "vit_medium_patch16_reg4_gap_256", "flexivit_small",
    "beit3_base_patch16_224", "vit_so150m_patch16_reg4_map_256", "vit_wee_patch16_reg1_gap_256",
    "vit_tiny_r_s16_p8_224", "vit_small_r26_s32_224", "vit_relpos_small_patch16_224",
    "vit_relpos_small_patch16_rpn_224", "vit_srelpos_small_patch16_224", "samvit_base_patch16_224",
    "vitamin_small_224", "volo_d1_224", "ese_vovnet19b_slim_dw", "ese_vovnet39b", "vovnet39a",
    "legacy_xception", "xception41", "xception41p", "xcit_nano_12_p16_224", "xcit_tiny_12_p8_224",
)  # fmt: skip


def entries() -> Iterator[Entry]:
    """All networks, by group."""
    warnings.simplefilter("ignore")
    from torchvision import models

    for room in (models, models.segmentation, models.video, models.detection):
        for name in models.list_models(module=room):
            if name not in TOO_LARGE:
                arch = f"torchvision:{name}"
                group = _torchvision_group(name)
                yield Entry(group, arch, lambda name=name: torchvision_case(name), arch, arguments_of(name))
    for name in TIMM_NAMES:
        arch = f"timm:{name}"
        yield Entry(TIMM, arch, lambda name=name: timm_case(name), arch, arguments_of(name))
    for name in YOLO_CASES:
        yield Entry(YOLO, f"yolo:{name}", lambda name=name: yolo_case(name), f"ultralytics:{name}")
    for name, make in HF_CASES.items():
        yield Entry(HF, f"hf:{name}", make)
