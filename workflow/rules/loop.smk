# The loop: a training set, a model, the data sets sampled from it, and what both are like.


wildcard_constraints:
    model=r"[^/]+/seed\d+/iteration\d+-[0-9a-f]+",
    part="[^/]+-[0-9a-f]{6}",


rule concatenate:
    input:
        unpack(study.concatenate_input),
    output:
        training_set=directory("results/models/{model}/training-set"),
    log:
        "results/logs/concatenate/{model}.log",
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.concatenate_settings,
    script:
        "../scripts/concatenate.py"


rule train:
    input:
        unpack(study.train_input),
        training_set="results/models/{model}/training-set",
    output:
        checkpoint=directory("results/models/{model}/checkpoint"),
        learning_curve="results/models/{model}/learning_curve.parquet",
    log:
        "results/logs/train/{model}.log",
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.train_settings,
    script:
        "../scripts/train.py"


rule generate:
    input:
        checkpoint="results/models/{model}/checkpoint",
        real=lambda w: study.models[w.model].real("train"),
    output:
        part=directory("results/models/{model}/parts/{part}"),
    log:
        "results/logs/generate/{model}/{part}.log",
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.generate_settings,
    script:
        "../scripts/generate.py"


rule evaluate_model:
    input:
        checkpoint="results/models/{model}/checkpoint",
        test=lambda w: study.models[w.model].real("test"),
    output:
        measurements="results/models/{model}/measurements.json",
    log:
        "results/logs/evaluate_model/{model}.log",
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.evaluate_model_settings,
    script:
        "../scripts/evaluate_model.py"


rule evaluate_part:
    input:
        unpack(study.evaluate_part_input),
        part="results/models/{model}/parts/{part}",
        checkpoint="results/models/{model}/checkpoint",
    output:
        measurements="results/models/{model}/parts/{part}.measurements.json",
    log:
        "results/logs/evaluate_part/{model}/{part}.log",
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.evaluate_part_settings,
    script:
        "../scripts/evaluate_part.py"


# Where a domain knows a way around the loop: whole chains in one job.
rule simulate_chains:
    output:
        measurements="results/simulations/{simulation}.parquet",
    log:
        "results/logs/simulate_chains/{simulation}.log",
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.simulate_chains_settings,
    script:
        "../scripts/simulate_chains.py"
