"""Methods, one a file. This table is all that the harness knows of them; it imports nothing.

name -> ("module:Class", fields that are fixed for this name).
"""

from typing import Any

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("baselines.trivial.random:Random", {}),
    "popularity": ("baselines.trivial.popularity:Popularity", {}),
    "item_mean": ("baselines.trivial.item_mean:ItemMean", {}),
    "bias": ("baselines.trivial.bias:Bias", {}),
    "item_knn": ("baselines.collaborative.item_knn:ItemKNN", {}),
    "als": ("baselines.collaborative.als:ALS", {}),
    "maml": ("baselines.gradient.maml:MAML", {}),
    "fomaml": ("baselines.gradient.maml:MAML", {"second_order": False}),
    "anil": ("baselines.gradient.anil:ANIL", {}),
    "melu": ("baselines.gradient.melu:MeLU", {}),
    "meta_sgd": ("baselines.gradient.meta_sgd:MetaSGD", {}),
    "mamo": ("baselines.gradient.mamo:MAMO", {}),
    "reptile": ("baselines.gradient.reptile:Reptile", {}),
    "prompt_tuning": ("baselines.prompt.prompt_tuning:PromptTuning", {}),
    "prompt_tuning_text": ("baselines.prompt.prompt_tuning:PromptTuning", {"text": True}),
    "matching_network": ("baselines.metric.matching_network:MatchingNetwork", {}),
    "prototypical_network": ("baselines.metric.prototypical_network:PrototypicalNetwork", {}),
    "relation_network": ("baselines.metric.relation_network:RelationNetwork", {}),
    "ridge_head": ("baselines.amortised.ridge_head:RidgeHead", {}),
    "neural_process": ("baselines.amortised.neural_process:NeuralProcess", {}),
    "meta_emb": ("baselines.amortised.meta_emb:MetaEmb", {}),
    "mwuf": ("baselines.amortised.mwuf:MWUF", {}),
    "set_encoder": ("baselines.amortised.set_encoder:SetEncoder", {}),
}
