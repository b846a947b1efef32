"""Train a RecBole model with DTL-NS: python run_recbole_dtlns.py --model=LightGCN --dataset=ml-100k."""

import sys

from recbole_dtlns.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
