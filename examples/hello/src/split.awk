# Every nth wine goes to holdout.csv, the others to train.csv.
BEGIN { FS = "," }
NR == 1 { print > "train.csv"; print > "holdout.csv"; next }
(NR - 1) % nth == 0 { print > "holdout.csv"; held++; next }
{ print > "train.csv"; kept++ }
END { printf "%d wines to learn from, %d held out\n", kept, held }
