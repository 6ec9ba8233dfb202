package hosted

import "bytes"

// Parse tells whether a body is a request, and how many objects it wants.
func Parse(body []byte) (wants int, err error) {
	q, err := parse(bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	return len(q.wants), nil
}
