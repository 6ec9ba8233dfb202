package gitsource_test

import (
	"fmt"

	"github.com/rogpeppe/go-internal/testscript"
)

// wantEnvironment waits until the environment of a reference has a phase, or is
// no longer told of.
func (s *story) wantEnvironment(ts *testscript.TestScript, args []string) error {
	var line string
	last := s.await(func() string {
		st := s.source("main").Status
		for i := range st.Environments {
			e := &st.Environments[i]
			if e.Ref != args[0] {
				continue
			}
			if string(e.Phase) != args[1] {
				return fmt.Sprintf("%+v", e)
			}
			line = e.String()
			ts.Setenv("NS", e.Namespace)
			return ""
		}
		if args[1] == "none" {
			return ""
		}
		return fmt.Sprintf("there is none among %+v", st.Environments)
	})
	fmt.Fprintln(ts.Stdout(), line)
	return failure(last)
}

func (s *story) leftOut(ts *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		o := s.source(args[0])
		if o == nil || len(o.Status.LeftOut) == 0 {
			return "nothing is left out"
		}
		for _, p := range o.Status.LeftOut {
			fmt.Fprintln(ts.Stdout(), p)
		}
		return ""
	}))
}
