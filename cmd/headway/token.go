package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
)

// tokenCommand looks after the tokens that admit agents.
func tokenCommand() *cobra.Command {
	token := &cobra.Command{Use: "token", Short: "Make, list and revoke tokens that admit agents"}
	token.AddCommand(tokenCreateCommand(),
		&cobra.Command{Use: "list", Short: "List the tokens, without their secrets", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := apiClient(cmd)
				if err != nil {
					return err
				}
				return listTokens(cmd.Context(), c, cmd.OutOrStdout(), time.Now())
			}},
		&cobra.Command{Use: "revoke ID", Short: "Make a token admit nobody from now on", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, err := apiClient(cmd)
				if err != nil {
					return err
				}
				return revokeToken(cmd.Context(), c, args[0])
			}})
	return token
}

func tokenCreateCommand() *cobra.Command {
	var ttl time.Duration
	var uses int
	var dataDir string
	create := &cobra.Command{
		Use:   "create",
		Short: "Make a token and print it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl <= 0 {
				return fmt.Errorf("--ttl must be more than 0, such as 1h")
			}
			if uses < 0 {
				return fmt.Errorf("--uses must be 0 (any number) or more")
			}
			return createToken(cmd, dataDir, ttl, uses)
		},
	}
	create.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token admits agents")
	create.Flags().IntVar(&uses, "uses", 0, "how many machines the token admits (0: any number)")
	create.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the server's data directory")
	return create
}

// createToken makes a token and prints it.
func createToken(cmd *cobra.Command, dataDir string, ttl time.Duration, uses int) error {
	config, err := clientConfig(cmd)
	if err != nil {
		return err
	}
	authorities, err := authoritiesHere(cmd, dataDir, config)
	if err != nil {
		return err
	}
	c, err := apiClient(cmd)
	if err != nil {
		return err
	}
	t, err := apiserver.NewJoinToken(ttl)
	if err != nil {
		return err
	}
	t.Uses = uses
	if err := c.Create(cmd.Context(), t.Object(time.Now())); err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), t.Text(authorities))
	return nil
}

// listTokens prints a line for each token.
func listTokens(ctx context.Context, c client.Reader, out io.Writer, now time.Time) error {
	var secrets corev1.SecretList
	if err := c.List(ctx, &secrets, client.InNamespace(authn.JoinTokenNamespace)); err != nil {
		return fmt.Errorf("list the tokens: %w", err)
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tEXPIRES\tUSES LEFT")
	for i := range secrets.Items {
		s := &secrets.Items[i]
		if s.Type != authn.JoinTokenType {
			continue
		}
		expires, uses := "never", "any"
		if at, err := time.Parse(time.RFC3339, string(s.Data["expiration"])); err == nil {
			expires = "expired"
			if at.After(now) {
				expires = "in " + at.Sub(now).Round(time.Second).String()
			}
		}
		left, counted, err := authn.Uses(s)
		if err != nil {
			return err
		}
		if counted {
			uses = strconv.Itoa(left)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Data["token-id"], expires, uses)
	}
	return table.Flush()
}

// revokeToken deletes a token. Nodes that it admitted stay.
func revokeToken(ctx context.Context, c client.Writer, id string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: authn.JoinTokenNamespace, Name: authn.JoinTokenName(id)}}
	if err := c.Delete(ctx, secret); err != nil {
		return fmt.Errorf("revoke token %q: %w", id, err)
	}
	return nil
}
