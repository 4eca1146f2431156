"""One folder per kind of data and model: text, linear, …"""
