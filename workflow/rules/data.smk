# The real data, as models read them.


wildcard_constraints:
    data="[^/]+",
    tokenizer="[0-9a-f]+",


rule prepare_data:
    input:
        lambda w: study.data[w.data].domain.files(study.data[w.data].data),
    output:
        train=directory("results/data/{data}/documents/train"),
        test=directory("results/data/{data}/documents/test"),
    log:
        "results/logs/prepare_data/{data}.log",
    conda:
        "../../envs/base.yaml"
    threads: study.threads("prepare_data")
    resources:
        gpu=study.asks("prepare_data", "gpu"),
        mem_mb=study.asks("prepare_data", "mem_mb"),
        runtime=study.asks("prepare_data", "runtime"),
    params:
        settings=study.prepare_data_settings,
    script:
        "../scripts/step.py"


rule train_tokenizer:
    input:
        train="results/data/{data}/documents/train",
    output:
        tokenizer="results/data/{data}/tokenizer-{tokenizer}.json",
    log:
        "results/logs/train_tokenizer/{data}-{tokenizer}.log",
    conda:
        "../../envs/base.yaml"
    threads: study.threads("train_tokenizer")
    resources:
        gpu=study.asks("train_tokenizer", "gpu"),
        mem_mb=study.asks("train_tokenizer", "mem_mb"),
        runtime=study.asks("train_tokenizer", "runtime"),
    params:
        settings=study.train_tokenizer_settings,
    script:
        "../scripts/step.py"


rule tokenize:
    input:
        train="results/data/{data}/documents/train",
        test="results/data/{data}/documents/test",
        tokenizer="results/data/{data}/tokenizer-{tokenizer}.json",
    output:
        train=directory("results/data/{data}/tokenized-{tokenizer}/train"),
        test=directory("results/data/{data}/tokenized-{tokenizer}/test"),
    log:
        "results/logs/tokenize/{data}-{tokenizer}.log",
    conda:
        "../../envs/base.yaml"
    threads: study.threads("tokenize")
    resources:
        gpu=study.asks("tokenize", "gpu"),
        mem_mb=study.asks("tokenize", "mem_mb"),
        runtime=study.asks("tokenize", "runtime"),
    params:
        settings=study.tokenize_settings,
    script:
        "../scripts/step.py"
