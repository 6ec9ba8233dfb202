package job

import (
	"slices"
	"sort"
	"strconv"
	"strings"
)

// indexes is a set of completion indexes: runs in order that neither overlap
// nor touch. A Job may have many more indexes than runs.
type indexes []run

type run struct{ first, last int }

// parseIndexes reads a set as a status has it, such as "1,3-5", and leaves out
// what is not below limit: a Job may have been made smaller. Anything that is
// no set ends the reading.
func parseIndexes(text string, limit int) indexes {
	var set indexes
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil || first >= limit {
			break
		}
		last := first
		if ranged {
			if last, err = strconv.Atoi(to); err != nil || last < first {
				break
			}
		}
		set = set.add(first, min(last, limit-1))
	}
	return set
}

// add appends a run that does not begin before the last one.
func (s indexes) add(first, last int) indexes {
	if n := len(s); n > 0 && first <= s[n-1].last+1 {
		s[n-1].last = max(s[n-1].last, last)
		return s
	}
	return append(s, run{first, last})
}

// String writes the set as a status has it: "0,1,3-5".
func (s indexes) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(r.first))
		switch r.last - r.first {
		case 0:
			continue
		case 1:
			b.WriteByte(',')
		default:
			b.WriteByte('-')
		}
		b.WriteString(strconv.Itoa(r.last))
	}
	return b.String()
}

func (s indexes) total() int {
	n := 0
	for _, r := range s {
		n += r.last - r.first + 1
	}
	return n
}

func (s indexes) has(index int) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].last >= index })
	return i < len(s) && s[i].first <= index
}

// with returns the union with some indexes, in any order.
func (s indexes) with(more ...int) indexes {
	slices.Sort(more)
	one := make(indexes, 0, len(more))
	for _, index := range more {
		one = one.add(index, index)
	}
	return s.union(one)
}

func (s indexes) union(o indexes) indexes {
	all := slices.Concat(s, o)
	slices.SortFunc(all, func(a, b run) int { return a.first - b.first })
	merged := make(indexes, 0, len(all))
	for _, r := range all {
		merged = merged.add(r.first, r.last)
	}
	return merged
}

// common counts the indexes that both sets have.
func (s indexes) common(o indexes) int {
	n := 0
	for i, j := 0, 0; i < len(s) && j < len(o); {
		if first, last := max(s[i].first, o[j].first), min(s[i].last, o[j].last); first <= last {
			n += last - first + 1
		}
		if s[i].last < o[j].last {
			i++
		} else {
			j++
		}
	}
	return n
}

// missing returns the first n indexes below limit that the set lacks.
func (s indexes) missing(n, limit int) []int {
	var found []int
	next := 0
	for i := 0; len(found) < n && next < limit; {
		if i < len(s) && s[i].first <= next {
			next = s[i].last + 1
			i++
			continue
		}
		found = append(found, next)
		next++
	}
	return found
}
