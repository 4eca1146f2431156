# The loop: a training set, a model, the data sets sampled from it, and what both are like.


wildcard_constraints:
    model=r"[^/]+/seed\d+/iteration\d+-[0-9a-f]+",
    part="[^/]+-[0-9a-f]{6}",


# It links files and copies none, and every model waits for it: it runs beside Snakemake, not in a cluster's queue.
rule concatenate:
    input:
        unpack(study.concatenate_input),
    output:
        training_set=directory("results/models/{model}/training-set"),
    log:
        "results/logs/concatenate/{model}.log",
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.concatenate_settings,
    script:
        "../scripts/step.py"


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
    threads: study.threads("train")
    resources:
        gpu=study.asks("train", "gpu"),
        mem_mb=study.asks("train", "mem_mb"),
        runtime=study.asks("train", "runtime"),
    params:
        settings=study.train_settings,
    script:
        "../scripts/step.py"


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
    threads: study.threads("generate")
    resources:
        gpu=study.asks("generate", "gpu"),
        mem_mb=study.asks("generate", "mem_mb"),
        runtime=study.asks("generate", "runtime"),
    params:
        settings=study.generate_settings,
    script:
        "../scripts/step.py"


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
    threads: study.threads("evaluate_model")
    resources:
        gpu=study.asks("evaluate_model", "gpu"),
        mem_mb=study.asks("evaluate_model", "mem_mb"),
        runtime=study.asks("evaluate_model", "runtime"),
    params:
        settings=study.evaluate_model_settings,
        state="results/state/{model}",  # the training's saved one, which is deleted at the end
    script:
        "../scripts/step.py"


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
    threads: study.threads("evaluate_part")
    resources:
        gpu=study.asks("evaluate_part", "gpu"),
        mem_mb=study.asks("evaluate_part", "mem_mb"),
        runtime=study.asks("evaluate_part", "runtime"),
    params:
        settings=study.evaluate_part_settings,
    script:
        "../scripts/step.py"


# Where a domain knows a way around the loop: whole chains in one job.
rule simulate_chains:
    output:
        measurements="results/simulations/{simulation}.parquet",
    log:
        "results/logs/simulate_chains/{simulation}.log",
    conda:
        "../../envs/base.yaml"
    threads: study.threads("simulate_chains")
    resources:
        gpu=study.asks("simulate_chains", "gpu"),
        mem_mb=study.asks("simulate_chains", "mem_mb"),
        runtime=study.asks("simulate_chains", "runtime"),
    params:
        settings=study.simulate_chains_settings,
    script:
        "../scripts/step.py"
