rule data:
    input:
        photo=photo_file,
    output:
        IMAGES,
    log:
        f"{LOGS}/data/{{dataset}}.log",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=3500,
        runtime=30,
    params:
        settings=data_settings,
        code=code_digest("fldrep.data.datasets"),
    shell:
        "python -m fldrep data --dataset {wildcards.dataset} --settings {params.settings:q} "
        "--places {PLACES:q} --out {output:q} > {log:q} 2>&1"


rule partition:
    input:
        IMAGES,
    output:
        SHARDS,
    log:
        f"{LOGS}/data/{{dataset}}/{{partition}}/seed-{{seed}}.log",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=lambda wildcards: stable_json(CONFIG.partitions[wildcards.partition]),
        code=code_digest(
            "fldrep.data.partition",
            "fldrep.storage.imageset",
            "fldrep.tables.shards",
            "fldrep.seeds",
        ),
    shell:
        "python -m fldrep partition --dataset {wildcards.dataset} --partition {wildcards.partition} --seed {wildcards.seed} "
        "--settings {params.settings:q} --images {input:q} --out {output:q} > {log:q} 2>&1"
