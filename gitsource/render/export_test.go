package render

// Parses tells the fuzz test how a file is read: how many objects and problems
// it gives.
func Parses(file string, content []byte) (objects, problems int) {
	r := parse(file, content)
	return len(r.objects), len(r.problems)
}
