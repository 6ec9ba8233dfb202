package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// settings fills in the flags that were not given from HEADWAY_<FLAG>, and
// those that are still open from the file that --config names.
func settings(cmd *cobra.Command) error {
	var failed error
	set := func(f *pflag.Flag, value, from string) {
		if err := cmd.Flags().Set(f.Name, value); err != nil && failed == nil {
			failed = fmt.Errorf("%s: --%s: %w", from, f.Name, err)
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "HEADWAY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := os.LookupEnv(name); ok && !f.Changed {
			set(f, value, name)
		}
	})
	path, err := cmd.Flags().GetString("config")
	if err != nil || path == "" || failed != nil {
		return failed
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read --config: %w", err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for name, value := range values {
		f := cmd.Flags().Lookup(name)
		if f == nil {
			return fmt.Errorf("%s: %q is no flag of %q", path, name, cmd.CommandPath())
		}
		if !f.Changed {
			set(f, settingText(value), path)
		}
	}
	return failed
}

// settingText is a YAML value as a flag takes it: lists with commas.
func settingText(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ",")
}

// logger writes to stderr in the chosen form.
func logger(cmd *cobra.Command) (*slog.Logger, error) {
	level, err := cmd.Flags().GetString("log-level")
	if err != nil {
		return nil, err
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %w (debug, info, warn or error)", err)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}

func logFlags(cmd *cobra.Command) {
	cmd.Flags().String("log-level", "info", "least level of what is logged: debug, info, warn or error")
}
