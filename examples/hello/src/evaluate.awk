# Each held-out wine goes to the nearest centroid; how often is that right?
BEGIN { FS = "," }
FNR == NR {
  for (i = 2; i <= NF; i++) model[$1, i - 1] = $i
  if ($1 != "mean" && $1 != "spread") cultivars++
  next
}
FNR == 1 { next }
{
  best = -1
  for (c = 0; c < cultivars; c++) {
    distance = 0
    for (i = 1; i < NF; i++) {
      d = ($i - model["mean", i]) / model["spread", i] - model[c, i]
      distance += d * d
    }
    if (best < 0 || distance < nearest) { best = c; nearest = distance }
  }
  table[$NF, best]++
  if (best == $NF) right++
  n++
}
END {
  print "         predicted"
  printf "actual  "
  for (c = 0; c < cultivars; c++) printf "%4d", c
  print ""
  for (a = 0; a < cultivars; a++) {
    printf "%6d  ", a
    for (c = 0; c < cultivars; c++) printf "%4d", table[a, c]
    print ""
  }
  printf "accuracy %.3f on %d wines\n", right / n, n
  printf "{\"accuracy\": %.6f, \"wines\": %d}\n", right / n, n > "metrics.json"
}
