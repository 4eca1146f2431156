"""Language models on text: byte-level BPE, GPT-2 and Llama-2 shapes, sampled documents."""
