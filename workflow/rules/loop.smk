# The loop: a training set, a model, the data sets sampled from it, and what both are like.


wildcard_constraints:
    model=r"[^/]+/seed\d+/iteration\d+-[0-9a-f]+",
    part="[^/]+-[0-9a-f]{6}",


rule concatenate:
    input:
        real=lambda w: study.models[w.model].real("train"),
        parts=lambda w: [folder for _, folder in study.models[w.model].takes],
    output:
        training_set=directory("results/models/{model}/training-set"),
    log:
        "results/logs/concatenate/{model}.log",
    conda:
        "../../envs/base.yaml"
    params:
        identity=lambda w: study.models[w.model].identity,
        takes=lambda w: study.models[w.model].take_table,
        budget=lambda w: study.models[w.model].budget,
        code=study.code("training_set"),
    message:
        "Concatenate the training set of {wildcards.model}"
    script:
        "../scripts/concatenate.py"


rule train:
    input:
        unpack(lambda w: study.models[w.model].tokenizer_input),
        training_set="results/models/{model}/training-set",
        test=lambda w: study.models[w.model].real("test"),
    output:
        checkpoint=directory("results/models/{model}/checkpoint"),
        learning_curve="results/models/{model}/learning_curve.parquet",
    log:
        "results/logs/train/{model}.log",
    conda:
        "../../envs/base.yaml"
    params:
        domain=lambda w: study.models[w.model].domain.name,
        identity=lambda w: study.models[w.model].identity,
        model=lambda w: study.models[w.model].experiment.model,
        training=lambda w: study.models[w.model].experiment.training,
        state=lambda w: f"results/state/{w.model}",
        code=lambda w: study.code("train", study.models[w.model].domain),
    message:
        "Train {wildcards.model}"
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
        domain=lambda w: study.models[w.model].domain.name,
        identity=lambda w: study.parts[w.model, w.part].identity,
        sampling=lambda w: study.parts[w.model, w.part].sampling,
        precision=lambda w: study.models[w.model].experiment.training.get("precision", "auto"),
        iteration=lambda w: study.models[w.model].iteration,
        part=lambda w: study.parts[w.model, w.part].index,
        code=lambda w: study.code("generate", study.models[w.model].domain),
    message:
        "Sample {wildcards.part} from {wildcards.model}"
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
        domain=lambda w: study.models[w.model].domain.name,
        code=lambda w: study.code("evaluate_model", study.models[w.model].domain),
    message:
        "Evaluate {wildcards.model}"
    script:
        "../scripts/evaluate_model.py"


rule evaluate_part:
    input:
        part="results/models/{model}/parts/{part}",
        checkpoint="results/models/{model}/checkpoint",
        first=lambda w: f"results/models/{study.models[w.model].first}/checkpoint",
        real=lambda w: study.models[w.model].real("train"),
    output:
        measurements="results/models/{model}/parts/{part}.measurements.json",
    log:
        "results/logs/evaluate_part/{model}/{part}.log",
    conda:
        "../../envs/base.yaml"
    params:
        domain=lambda w: study.models[w.model].domain.name,
        part=lambda w: study.parts[w.model, w.part].index,
        code=lambda w: study.code("evaluate_part", study.models[w.model].domain),
    message:
        "Evaluate {wildcards.part} of {wildcards.model}"
    script:
        "../scripts/evaluate_part.py"
