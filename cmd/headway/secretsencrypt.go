package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/headway-sh/headway/apiserver"
)

// secretsEncryptCommand looks after encryption at rest.
func secretsEncryptCommand() *cobra.Command {
	group := &cobra.Command{
		Use:   "secrets-encrypt",
		Short: "Look after the encryption of what is stored",
		Long: `Look after the encryption of what is stored.

Secrets are sealed by a key that the server made, in DATA-DIR/pki/encryption.yaml:
a backup without that file cannot be read. With --encryption-provider-config FILE
the server seals by an EncryptionConfiguration of yours instead.`,
	}
	verb := func(name, short, long, method, path string) {
		cmd := &cobra.Command{Use: name, Short: short, Long: long, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := clientConfig(cmd)
			if err != nil {
				return err
			}
			status, err := askEncryption(cmd.Context(), config, method, path)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return printEncryption(cmd.OutOrStdout(), status)
		}}
		group.AddCommand(cmd)
	}
	verb("status", "Show which keys seal what is stored", "", http.MethodGet, "/")
	verb("rotate", "Make a new key, rewrite everything with it and drop the old one",
		`Make a new key, rewrite everything with it and drop the old one.

It may be called again after a failure, and a server that was stopped meanwhile
goes on by itself when it starts. Watches and continued lists that began before
start anew, because the history that the old key sealed is dropped too.`, http.MethodPost, "/rotate")
	verb("reencrypt", "Rewrite what is not sealed as the configuration says now", "", http.MethodPost, "/reencrypt")
	return group
}

func askEncryption(ctx context.Context, config *rest.Config, method, path string) (*apiserver.EncryptionStatus, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(config.Host, "/")+apiserver.EncryptionPath+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	var status apiserver.EncryptionStatus
	if err := json.Unmarshal(text, &status); err != nil {
		return nil, fmt.Errorf("understand the server's answer: %w", err)
	}
	return &status, nil
}

func printEncryption(out io.Writer, s *apiserver.EncryptionStatus) error {
	whose := "yours"
	if s.Own {
		whose = "the server's own"
	}
	fmt.Fprintf(out, "Configuration: %s (%s)\n", s.File, whose)
	if s.Rotating {
		fmt.Fprintln(out, "A rotation has begun and is not finished: call rotate again.")
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "RESOURCE\tSEALED BY\tOBJECTS\tWRITTEN WITH")
	for _, r := range s.Resources {
		keys := slices.Sorted(maps.Keys(r.Stored))
		if len(keys) == 0 {
			fmt.Fprintf(table, "%s\t%s\t0\t\n", r.Resource, r.Key)
		}
		for _, key := range keys {
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", r.Resource, r.Key, r.Stored[key], key)
		}
	}
	return table.Flush()
}
