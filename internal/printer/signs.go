package printer

// Signs are what trees are drawn with: plain ones where the locale is not
// UTF-8.
type Signs struct{ unicode bool }

// NewSigns follows the locale.
func NewSigns(env func(string) string) Signs { return Signs{isUnicode(env)} }

// Branch is what comes before an object, and before all that is below it.
func (s Signs) Branch(last bool) (here, below string) {
	switch {
	case s.unicode && last:
		return "└── ", "    "
	case s.unicode:
		return "├── ", "│   "
	case last:
		return "`-- ", "    "
	}
	return "|-- ", "|   "
}

// Health is a sign for one of the words of health.
func (s Signs) Health(word string) string {
	signs := map[string][2]string{
		"Healthy": {"✔", "ok"}, "Progressing": {"◎", ".."}, "Degraded": {"✗", "!!"}, "Missing": {"✗", "!!"},
	}
	sign, ok := signs[word]
	if !ok {
		sign = [2]string{"?", "??"}
	}
	if s.unicode {
		return sign[0]
	}
	return sign[1]
}
