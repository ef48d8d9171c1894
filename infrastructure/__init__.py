"""The AWS deployment: a CDK app, one construct per subject, and the Lambda that bridges VAMS."""
